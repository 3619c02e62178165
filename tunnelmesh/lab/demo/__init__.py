"""The story that ``tunnelmesh demo`` tells: two machines behind NATs of their own meet.

:mod:`.story` is what happens, :mod:`.witness` puts what the services say into words, and
:mod:`.view` shows it. It plays on a stage: :mod:`.kernel` has the NATs of the Linux kernel,
:mod:`.simulated` an internet in memory for those who have no right to the former.
"""
