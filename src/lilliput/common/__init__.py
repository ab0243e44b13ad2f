"""What every room uses and no other package gives: safe files and folders, progress, processes, charts."""
