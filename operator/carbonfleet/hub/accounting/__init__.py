"""The ledger's lines: energy, emissions and counterfactuals of attempts that ended, settled later."""
