import { ICommandPalette, showErrorMessage } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import { IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { ILauncher } from '@jupyterlab/launcher';
import { LabIcon } from '@jupyterlab/ui-components';
import svgstr from './face.svg';
import { notebook } from './template';

const OPEN = 'identiface-audit:open';
const HERE = 'identiface-audit:audit-folder';

// Cards under "Notebook" take a picture, which knows no theme: a grey that is seen on light and dark.
const picture = `data:image/svg+xml,${encodeURIComponent(svgstr.replaceAll('#616161', '#808080'))}`;

async function freeName(contents, folder) {
  const taken = new Set((await contents.get(folder)).content.map(item => item.name));
  for (let i = 0; ; i++) {
    const name = `Face audit${i ? ` ${i}` : ''}.ipynb`;
    if (!taken.has(name)) {
      return name;
    }
  }
}

// The default kernel where it speaks Python, else the first that does.
async function pythonKernel(kernelspecs) {
  await kernelspecs.ready;
  const { default: usual, kernelspecs: all } = kernelspecs.specs ?? { kernelspecs: {} };
  return [all[usual], ...Object.values(all)].find(spec => spec?.language === 'python')?.name;
}

async function openAudit(app, folder) {
  const { contents, kernelspecs } = app.serviceManager;
  try {
    const path = PathExt.join(folder, await freeName(contents, folder));
    await contents.save(path, { type: 'notebook', format: 'json', content: notebook() });
    const name = await pythonKernel(kernelspecs);
    const panel = await app.commands.execute('docmanager:open', { path, factory: 'Notebook', kernel: name && { name } });
    run(app, panel).catch(reason => console.error(reason));
    return panel;
  } catch (reason) {
    await showErrorMessage(`No audit notebook in “${folder || '/'}”`, reason);
  }
}

// By the panel's id, so that another notebook is never run, whatever is in front by then.
async function run(app, panel) {
  await Promise.all([panel.context.ready, panel.sessionContext.ready]);
  if (panel.sessionContext.session?.kernel) {
    await app.commands.execute('notebook:run-all-cells', { semanticWidget: panel.id, activate: false });
  }
}

export default {
  id: 'identiface-audit:plugin',
  description: 'A launcher card, a menu item on folders and commands that open an audit notebook.',
  autoStart: true,
  optional: [IFileBrowserFactory, ILauncher, ICommandPalette],
  activate(app, browsers, launcher, palette) {
    const icon = new LabIcon({ name: 'identiface-audit:face', svgstr });
    const browser = () => browsers?.tracker.currentWidget;
    const chosen = () => Array.from(browser()?.selectedItems() ?? []).find(item => item.type === 'directory');
    app.commands.addCommand(OPEN, {
      icon,
      label: args => (args.isPalette ? 'New Face Audit' : 'Face audit'),
      caption: 'Open an audit notebook in the current folder',
      execute: args => openAudit(app, args.cwd ?? browser()?.model.path ?? '')
    });
    app.commands.addCommand(HERE, {
      icon,
      label: 'Audit faces here',
      caption: 'Open an audit notebook in the folder that is selected in the file browser',
      isEnabled: () => chosen() !== undefined,
      execute: () => openAudit(app, chosen().path)
    });
    launcher?.add({ command: OPEN, category: 'Notebook', rank: 10, kernelIconUrl: picture });
    palette?.addItem({ command: OPEN, category: 'Face audit', args: { isPalette: true } });
    palette?.addItem({ command: HERE, category: 'Face audit' });
    app.contextMenu.addItem({ command: HERE, selector: '.jp-DirListing-item[data-isdir="true"]', rank: 3 });
  }
};
