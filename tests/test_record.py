"""What a record says of its history."""

from records import make_history

from bench.record import best_test_epoch


def test_the_best_epoch_is_one_of_the_network_that_stays():
    found = [(100, 93.0), (100, 94.0), (50, 91.0), (50, 92.0), (50, None)]
    rows = [
        row.model_copy(update={"macs": macs, "top1": top1})
        for row, (macs, top1) in zip(make_history(5, 90.0), found, strict=True)
    ]
    assert best_test_epoch(rows, 50) == 92.0 and best_test_epoch(rows, 100) == 94.0
    assert best_test_epoch(rows, 40) is None and best_test_epoch([], 50) is None
