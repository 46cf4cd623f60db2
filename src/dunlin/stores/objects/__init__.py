"""Object stores: S3, Azure Blob and Google Cloud Storage behind one store."""
