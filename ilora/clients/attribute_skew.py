"""Attribute skew: every client holds the same mix of classes, but sees its samples in a style of its own.

Client k has style k mod S of the task's S styles. Clients hold different samples, so a style is put on once, on the data as a
whole. The server is tested in all styles that occur, the test samples taking them in turn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ilora.tasks.base import Data
from ilora.tasks.styles import Style


def in_style(data: Data, style: Style) -> Data:
    """All samples in one style."""
    return replace(data, inputs=style(data.inputs))


def dressed(data: Data, rows: Sequence[Tensor | np.ndarray], worn: Sequence[str], styles: Mapping[str, Style]) -> Data:
    """The samples at rows[i] in the style worn[i], all others as they are; labels stay."""
    inputs = {name: tensor.clone() for name, tensor in data.inputs.items()}
    for own, style in zip(rows, worn, strict=True):
        index = torch.as_tensor(own, device=data.labels.device)
        for name, tensor in styles[style]({name: tensor[index] for name, tensor in data.inputs.items()}).items():
            inputs[name][index] = tensor
    return replace(data, inputs=inputs)


def in_all_styles(data: Data, worn: Sequence[str], styles: Mapping[str, Style]) -> Data:
    """Sample i in the style i mod S of those that occur among `worn`."""
    occurring = list(dict.fromkeys(worn))
    return dressed(data, [np.arange(i, len(data), len(occurring)) for i in range(len(occurring))], occurring, styles)
