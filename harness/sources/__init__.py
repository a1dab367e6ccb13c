"""Where weights and tokenizers come from: names, folders, hubs, downloads and their hashes."""
