"""The commands of ``metabridge``, one a file: a frozen dataclass whose fields are its flags, and what ``run`` does.

Heavy packages are imported by the ``run`` that needs them, so that ``metabridge --help`` answers at once.
"""
