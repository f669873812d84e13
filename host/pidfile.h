/* SPDX-License-Identifier: MIT */
/* A file that holds this process's number while it runs. */
#ifndef PIDFILE_H
#define PIDFILE_H

/* Opens and locks FILE, which must be new, empty or an old one of these; it is
 * not changed yet. 0 or -errno (said). Main thread, as the others. */
int pidfile_open(const char *path);
/* Nothing of the start has failed: it will be removed at the end, by the
 * helper, which is not sealed yet. 0 or -errno (said). */
int pidfile_keep(void);
/* Writes the number. 0; -EAGAIN: who had it until now still locks it, ask again
 * in a moment; or another -errno (said). */
int pidfile_write(void);
/* Lets it go; before pidfile_keep also what pidfile_open made. Nothing, where
 * there is none. */
void pidfile_close(void);

#endif
