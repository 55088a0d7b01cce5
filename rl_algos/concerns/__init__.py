"""What goes wrong when one network learns many tasks, and what is done about it; a concern a file.

Every remedy of gradients and losses works through one step, ``combining.backward``.
"""
