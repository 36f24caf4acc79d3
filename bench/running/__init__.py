"""Where and when a suite's trials run: one after the other here (`inline`), or on Ray (`onray`, `ontrain`, `cluster`).

Start with `board` (what can start, read from the disk) and `schedule`. How a network is trained and cut is not known
here: that is `bench.trial`'s.
"""
