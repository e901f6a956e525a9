"""The paper's tables, and checks of our own, each from one command:

launch/reproduce.sh TABLE [DATASET]
"""
