/** --root: where layers, cache and state are. */
export const defaultRoot = '/var/lib/obd';
