package self

const sysMemfdCreate = 279
