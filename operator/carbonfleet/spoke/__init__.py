"""The agent on a training cluster: sync, run, report."""
