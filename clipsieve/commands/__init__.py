"""The commands: each reads its options, calls one package and prints what came of it.

Every field of a stage's options (schemas/options) is a flag of its command. Beam's own options follow ``--``.
"""
