"""From files to batches: readers, parallel corpora, leakage check, development split, token store, collator."""
