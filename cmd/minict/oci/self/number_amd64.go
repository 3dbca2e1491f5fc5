package self

const sysMemfdCreate = 319
