"""The operator: Kopf handlers, the planning cycle and job status."""
