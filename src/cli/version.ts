// What obd-build --version says: as in package.json, which an installed bundle does not have beside it.
export const obdVersion = '0.1.0';
