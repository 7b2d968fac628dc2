"""Published datasets, and folders of one's own, as records that are read in any order. No TensorFlow.

`layouts` lists the files of an unpacked archive, `table` declares each dataset on a few lines, `builder` writes the
records with TensorFlow Datasets, `source` reads them. These need `pip install "jaxdyn[train]"`.
"""

from jaxdyn.data.datasets.builder import Built, build, built, is_built
from jaxdyn.data.datasets.source import Source, open_dataset
from jaxdyn.data.datasets.table import DATASETS, named

__all__ = ["DATASETS", "Built", "Source", "build", "built", "is_built", "named", "open_dataset"]
