"""Commands about a spoke: joining it, a host without Kubernetes, and taking it out of use."""
