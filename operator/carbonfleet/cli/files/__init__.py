"""Commands on files: definitions, jobs, policies, and what a job's file would become."""
