"""How estimators are trained: as learners of vtune's, over folds padded to fixed sizes."""
