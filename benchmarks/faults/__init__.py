"""Kills, full disks, two writers, folders that nobody may write, hostile files: with counts."""
