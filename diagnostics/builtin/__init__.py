"""The diagnostics that come with blobwatch."""
