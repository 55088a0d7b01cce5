"""A language model in the same table: prompted, meta-trained and fine-tuned, beside other methods and over formats.

``cells.py`` lists what is played, ``measures.py`` reads its steps, ``tables.py`` and ``figure.py`` show them.
"""
