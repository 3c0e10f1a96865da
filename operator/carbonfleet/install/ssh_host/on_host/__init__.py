"""What runs on a host without Kubernetes to make a spoke of it or to take it away: sent there over SSH, by itself.

It needs Python's standard library alone. Standard input holds the request (its length in a line, then JSON), and
after it the wheel. Each line of standard output is a JSON object: a finding, a step, or the end. All that it makes lies
in one folder, ~/.carbonfleet-NAME, but for systemd's units and a folder for Ray's sockets where that path is too long.
Every process that it starts, and what those start, holds the folder's path in its environment: none is left behind.
"""
