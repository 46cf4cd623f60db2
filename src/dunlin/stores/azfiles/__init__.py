"""Azure Files: a share as a store of directories, over its REST interface."""
