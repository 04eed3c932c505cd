"""The trained methods: the algorithm of each."""
