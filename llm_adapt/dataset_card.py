"""Dataset cards: the ``README.md`` of a collection of histories, by whose metadata ``datasets`` types its shards.

No network is used. The metadata name no files (``configs``): datasets 5.2 would then serve the rows of its first call
again after a shard was added. It finds the shards by their ending.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import datasets
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCard, DatasetCardData

_TEXT = """# Learning histories on {family}

Made by metabridge. A row is the whole history of one agent ({agents}, in turn) on one task of the split {split}:
{episodes} episodes of at most {horizon} steps; {rows} rows a shard. Columns, a list of steps each: `obs`, `action`,
`reward`, `next_obs`, `end` (this step ended its episode), `asked` (a query state, drawn at random from those of the
shard), `best` (the informed oracle's action there). Rewards are the task's own. There are no parameters of tasks.

```python
import datasets

rows = datasets.load_dataset("THIS_FOLDER", split="train")
```

All shards are `train` to `datasets`, whatever the split of the tasks. The content is a function of this definition
(family hash {family_hash}) and the shard's number:

```json
{definition}
```
"""


def content(definition: Mapping[str, Any], horizon: int, features: datasets.Features) -> str:
    """The text of a dataset card.

    Args:
        definition: the fields of the collection's definition.
        horizon: steps of an episode, at most.
        features: the columns of its shards.
    """
    data = DatasetCardData(
        pretty_name=f"Learning histories on {definition['family']}",
        task_categories=["reinforcement-learning"],
        tags=["metabridge", "meta-reinforcement-learning", "in-context-learning"],
    )
    info = datasets.DatasetInfo(features=features)
    DatasetInfosDict(default=info).to_dataset_card_data(data)
    text = _TEXT.format(
        **definition,
        agents=", ".join(definition["sources"]),
        horizon=horizon,
        definition=json.dumps(definition, indent=1, sort_keys=True),
    )
    return str(DatasetCard(f"---\n{data.to_yaml()}\n---\n{text}"))
