"""Commands that ask a running fleet: its hub, its repository, its signals, its ledger."""
