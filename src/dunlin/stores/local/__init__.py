"""The local store: disks of this machine and whatever is mounted on it.

    store     LocalStore, all verbs                paths    descriptors of directories, links never followed
    reading   one version of a file                writing  whole or not at all; temporary names
    meta      owner, mode, times, attributes       caps     what each type of file system can hold
    batch     the small files of one directory     posix    system calls that Python does not offer
"""

from dunlin.stores.local.caps import local_caps
from dunlin.stores.local.paths import DirFds
from dunlin.stores.local.store import LocalStore
from dunlin.stores.local.writing import WriteOptions, temp_name

__all__ = ["DirFds", "LocalStore", "WriteOptions", "local_caps", "temp_name"]
