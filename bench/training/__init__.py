"""How `bench.session` trains: an epoch, its processes, and what is written down so that a killed trial goes on."""
