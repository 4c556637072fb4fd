"""`stagebench plan --trial`: one task of every treatment, before a study is started."""
