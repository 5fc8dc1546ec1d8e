"""Language models on real text: corpora, tokenisers, shards of tokens, training and evaluation."""
