/** Unit of a string such that order by units is order by UTF-8 bytes: surrogates are beyond all others. */
function weight(unit: number): number {
	return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}

/** Order of strings by their UTF-8 bytes, which is how Go sorts them. For Array.sort. */
export function compareBytes(a: string, b: string): number {
	const length = Math.min(a.length, b.length);
	for (let i = 0; i < length; i++) {
		const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)];
		if (x !== y) return weight(x) - weight(y);
	}
	return a.length - b.length;
}
