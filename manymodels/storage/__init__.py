"""Where the store's files live: a local folder or any fsspec URL, with atomic visibility."""

from manymodels.storage.files import StoredFile
from manymodels.storage.storage import Storage

__all__ = ["Storage", "StoredFile"]
