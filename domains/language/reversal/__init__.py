"""Facts that are learnt in one direction and asked in the other: data, models, answers, and chains of facts."""
