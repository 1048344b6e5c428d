// What records and leases point at: `blob:sha256:...`, or `<table>:<key>` for another record.

export function blobRef(digest: string): string {
	return `blob:${digest}`;
}

export function recordRef(table: string, key: string): string {
	return `${table}:${key}`;
}

/** The digest of a blob reference, undefined for a record reference. */
export function blobOf(ref: string): string | undefined {
	return ref.startsWith('blob:') ? ref.slice('blob:'.length) : undefined;
}
