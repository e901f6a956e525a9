"""Features of whole words: numbers of what a word, or its place, looks like.

A feature has columns; in each a word has a number from 1 on, and 0 is for what
is no word of the sentence. What it counts, it counts in the training sentences
before training. A new feature is a module with a `WordFeature`, and its line in
`reading.WORD_FEATURES`.
"""
