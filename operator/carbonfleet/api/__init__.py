"""What people write and read: the custom resources and files as models."""
