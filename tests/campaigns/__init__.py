"""Long runs that look for what nobody thought of; ``make campaign`` runs them all.

kills.py     jobs killed at random moments
storage.py   disks that fill up, cannot be written to, or lose a directory
small_job.py what both run: a model and facts as small as can be, and a job on them
"""
