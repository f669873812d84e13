/* SPDX-License-Identifier: MIT */
/* A file that holds this process's number while it runs. */
#ifndef PIDFILE_H
#define PIDFILE_H

/* Opens and locks FILE, which must be new, empty or an old one of these; it is
 * not changed yet. 0 or -errno (said). Main thread, as the others. */
int pidfile_open(const char *path);
/* Writes the number. 0 or -errno (said). */
int pidfile_write(void);
/* Removes it, or what pidfile_open made of it. Nothing, where there is none. */
void pidfile_close(void);

#endif
