"""Commands that read the ledger: reports, exports, audits."""
