"""The only reader of configuration files and of the environment.

    environment   names of variables, the user's directories, what the terminal can do
    schema        every section and key, what it holds, and the option it stands for
    credentials   what the stores need to let us in
    file          finds the file, reads YAML or TOML with line numbers, checks it by the schema
    settings      one answer per option: environment, then file; and where it came from
    logins        from settings and standard variables to a `stores.login.Login` for each side
    template      what `dunlin init` writes

Flags > environment > file > default. The first module alone is loaded by every start; the schema when a variable or a
file has something to say, PyYAML when a YAML file exists.
"""

from __future__ import annotations

from dunlin.config.environment import (
    PREFIX,
    color,
    moves_cursor,
    repository_cache,
    runtime_dir,
    user_config_dir,
    user_state_dir,
    variable,
    variable_name,
)

__all__ = [
    "PREFIX",
    "color",
    "moves_cursor",
    "repository_cache",
    "runtime_dir",
    "user_config_dir",
    "user_state_dir",
    "variable",
    "variable_name",
]
