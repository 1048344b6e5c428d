// The `WWW-Authenticate` header: which kind of login a registry wants (RFC 7235, RFC 6750).

export interface Challenge {
	readonly scheme: 'basic' | 'bearer';
	readonly parameters: Readonly<Record<string, string>>;
}

const token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const parameterPattern = `(${token})\\s*=\\s*(?:"((?:[^"\\\\]|\\\\.)*)"|(${token}))`;

/** The challenges we can answer, bearer before basic. */
export function parseChallenges(header: string | undefined): Challenge[] {
	const challenges: Challenge[] = [];
	// Node joins several headers with a comma; a scheme is a token that is followed by no equals sign.
	for (const part of splitChallenges((header ?? '').slice(0, 16 * 1024))) {
		const scheme = part.scheme.toLowerCase();
		if (scheme === 'bearer' || scheme === 'basic') challenges.push({ scheme, parameters: parseParameters(part.rest) });
	}
	return challenges.sort((a, b) => Number(a.scheme === 'basic') - Number(b.scheme === 'basic'));
}

function splitChallenges(header: string): { scheme: string; rest: string }[] {
	const starts = [...header.matchAll(new RegExp(`(?:^|,)\\s*(${token})(?=\\s+${token}\\s*=|\\s*$|\\s*,)`, 'g'))];
	return starts.map((match, i) => {
		const begin = (match.index ?? 0) + match[0].length;
		return { scheme: match[1] ?? '', rest: header.slice(begin, starts[i + 1]?.index ?? header.length) };
	});
}

function parseParameters(text: string): Record<string, string> {
	const parameters: Record<string, string> = {};
	for (const match of text.matchAll(new RegExp(parameterPattern, 'g'))) {
		parameters[(match[1] ?? '').toLowerCase()] = match[2]?.replace(/\\(.)/g, '$1') ?? match[3] ?? '';
	}
	return parameters;
}
