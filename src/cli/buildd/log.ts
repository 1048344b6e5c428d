// The daemon's log on standard error, in the form of logrus, which buildkitd writes: text or JSON, a line an event.

const levels = ['error', 'warn', 'info', 'debug', 'trace'] as const;

export type Level = (typeof levels)[number];

export interface Log {
	write(level: Level, message: string, fields?: Readonly<Record<string, string>>): void;
}

const names: Readonly<Record<string, Level>> = { panic: 'error', fatal: 'error', error: 'error', warn: 'warn', warning: 'warn', info: 'info', debug: 'debug', trace: 'trace' };

/** Throws for a level or a format nobody knows. */
export function openLog(level: string, format: string, write: (line: string) => void): Log {
	const wanted = names[level.toLowerCase()];
	if (!wanted) throw new Error(`not a valid logrus Level: ${JSON.stringify(level)}`);
	if (format !== 'text' && format !== 'json' && format !== '') throw new Error(`unsupported log type ${JSON.stringify(format)}: use text or json`);
	return {
		write: (severity, message, fields = {}) => {
			if (levels.indexOf(severity) > levels.indexOf(wanted)) return;
			const time = new Date().toISOString();
			const name = severity === 'warn' ? 'warning' : severity;
			if (format === 'json') write(`${JSON.stringify({ ...fields, level: name, msg: message, time })}\n`);
			else write(`${[['time', time], ['level', name], ['msg', message], ...Object.entries(fields)].map(([key, value]) => `${key}=${quoted(value ?? '')}`).join(' ')}\n`);
		},
	};
}

function quoted(text: string): string {
	return /^[\w./@^+-]+$/.test(text) ? text : JSON.stringify(text);
}
