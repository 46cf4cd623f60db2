"""What the stores need to let us in: values of a `Login` with their options, keys and standard variables.

Apart from `schema`, because every start of `dunlin sync` needs this much of it to make its options.
"""

from __future__ import annotations

from typing import NamedTuple


class Credential(NamedTuple):
    """What one kind of store needs to let us in.

    Attributes:
        store: "azure", "s3" or "gcs", also the section. name: of the value in a `Login`, and of the key.
        flag: the option; "" for what only standard variables tell.
        standard: the standard variables, the first one that is set counts.
        secret: as in `Key`. switch: it holds true or false.
    """

    store: str
    name: str
    flag: str
    standard: tuple[str, ...] = ()
    secret: bool = False
    switch: bool = False


CREDENTIALS = (
    Credential("azure", "connection_string", "--connection-string", ("AZURE_STORAGE_CONNECTION_STRING",), secret=True),
    Credential("azure", "account_name", "--account-name", ("AZURE_STORAGE_ACCOUNT",)),
    Credential("azure", "account_key", "--account-key", ("AZURE_STORAGE_KEY",), secret=True),
    Credential("azure", "sas_token", "--sas-token", ("AZURE_STORAGE_SAS_TOKEN",), secret=True),
    Credential("azure", "use_managed_identity", "--use-managed-identity", switch=True),
    Credential("azure", "tenant_id", "--tenant-id", ("AZURE_TENANT_ID",)),
    Credential("azure", "client_id", "--client-id", ("AZURE_CLIENT_ID",)),
    Credential("azure", "client_secret", "--client-secret", ("AZURE_CLIENT_SECRET",), secret=True),
    Credential("azure", "use_workload_identity", "--use-workload-identity", switch=True),
    Credential("azure", "use_azure_cli", "--use-azure-cli", switch=True),
    Credential("azure", "endpoint", "--azure-endpoint"),
    Credential("azure", "federated_token_file", "", ("AZURE_FEDERATED_TOKEN_FILE",)),
    Credential("azure", "authority_host", "", ("AZURE_AUTHORITY_HOST",)),
    Credential("azure", "identity_endpoint", "", ("IDENTITY_ENDPOINT",)),
    Credential("s3", "endpoint", "--s3-endpoint", ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")),
    Credential("s3", "region", "--s3-region", ("AWS_REGION", "AWS_DEFAULT_REGION")),
    Credential("s3", "profile", "--s3-profile", ("AWS_PROFILE",)),
    Credential("s3", "access_key_id", "--s3-access-key-id", ("AWS_ACCESS_KEY_ID",)),
    Credential("s3", "secret_access_key", "--s3-secret-access-key", ("AWS_SECRET_ACCESS_KEY",), secret=True),
    Credential("s3", "session_token", "--s3-session-token", ("AWS_SESSION_TOKEN",), secret=True),
    Credential("s3", "role_arn", "--s3-role-arn"),
    Credential("s3", "anonymous", "--s3-anonymous", switch=True),
    Credential("gcs", "service_account", "--gcs-service-account", ("GOOGLE_APPLICATION_CREDENTIALS",), secret=True),
    Credential("gcs", "endpoint", "--gcs-endpoint", ("STORAGE_EMULATOR_HOST",)),
    Credential("gcs", "project", "--gcs-project", ("GOOGLE_CLOUD_PROJECT",)),
    Credential("gcs", "anonymous", "--gcs-anonymous", switch=True),
)
SIDES = ("source", "dest")
"""Every credential option has a form for one side: ``--source-account-key``, ``--dest-account-key``."""

REPOSITORY = "repo"
"""The side that commands with a repository have besides: ``--repo-account-key``."""


def side_flag(flag: str, side: str) -> str:
    """The form of a credential option for one of `SIDES`, or for the `REPOSITORY`."""
    return f"--{side}-{flag.lstrip('-')}"
