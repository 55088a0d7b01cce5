"""From rows to what people read: summaries, tables, figures."""
