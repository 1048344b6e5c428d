// Colours of the terminal display, with BuildKit's variables: NO_COLOR and BUILDKIT_COLORS.

/** Puts the escape sequences of a colour around a text. */
export type Paint = (text: string) => string;

export interface Colors {
	readonly run: Paint;
	readonly cancel: Paint;
	readonly warning: Paint;
	readonly error: Paint;
	/** For log lines. */
	readonly faint: Paint;
}

const plain: Paint = (text) => text;
const sgr = (parameters: string): Paint => (text) => `\u001b[${parameters}m${text}\u001b[0m`;

const names = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white'];

/**
 * BUILDKIT_COLORS: `run=cyan:error=light-red:cancel=255,165,0`. Parts that are not understood are left out.
 */
export function displayColors(env: Readonly<Record<string, string | undefined>>): Colors {
	const faint = sgr('2');
	if (env['NO_COLOR']) return { run: plain, cancel: plain, warning: plain, error: plain, faint };
	const colors: Record<'run' | 'cancel' | 'warning' | 'error', Paint> = { run: sgr('34'), cancel: sgr('33'), warning: sgr('33'), error: sgr('31') };
	for (const part of (env['BUILDKIT_COLORS'] ?? '').split(':')) {
		const [key = '', value = '', ...more] = part.replaceAll('"', '').toLowerCase().split('=');
		const paint = parseColor(value);
		if (more.length === 0 && paint && Object.hasOwn(colors, key)) colors[key as keyof typeof colors] = paint;
	}
	return { ...colors, faint };
}

function parseColor(text: string): Paint | undefined {
	if (text === 'default') return sgr('39');
	const light = text.startsWith('light-');
	const index = names.indexOf(light ? text.slice('light-'.length) : text);
	if (index >= 0) return sgr(String((light ? 90 : 30) + index));
	const parts = text.split(',').map(Number);
	if (parts.length !== 3 || !parts.every((part) => Number.isInteger(part) && part >= 0 && part <= 255)) return undefined;
	return sgr(`38;2;${parts.join(';')}`);
}
