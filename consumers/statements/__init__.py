"""What a customer is told: bills and explanations, made of the ledger's events and of nothing else."""
