"""From a batch of records to a commit: fold, find what changed, bring the views along. Read `applier` first."""
